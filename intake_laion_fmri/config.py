"""What is set once for a process: how patient requests are, and where downloads go."""

from __future__ import annotations

from intake_laion_fmri.remote.data_folder import data_dir, dataset_initialize, get_data_dir
from intake_laion_fmri.remote.retry import NETWORK_VARIABLE, NetworkPolicy, network_policy, set_network

__all__ = [
    "NETWORK_VARIABLE",
    "NetworkPolicy",
    "data_dir",
    "dataset_initialize",
    "get_data_dir",
    "network_policy",
    "set_network",
]
