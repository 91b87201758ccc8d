"""Settings: retries and timeouts of a process, and the data folder, which is saved for later processes."""

from __future__ import annotations

from intake_laion_fmri.remote.data_folder import CONFIG_VARIABLE, data_dir, dataset_initialize, get_data_dir
from intake_laion_fmri.remote.retry import NETWORK_VARIABLE, NetworkPolicy, network_policy, set_network

__all__ = [
    "CONFIG_VARIABLE",
    "NETWORK_VARIABLE",
    "NetworkPolicy",
    "data_dir",
    "dataset_initialize",
    "get_data_dir",
    "network_policy",
    "set_data_dir",
    "set_network",
]

set_data_dir = dataset_initialize
