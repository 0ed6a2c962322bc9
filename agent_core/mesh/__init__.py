"""The mesh on py-libp2p: the only package that knows libp2p or zeroconf. Importing it imports neither."""

from agent_core.mesh.config import MeshConfig
from agent_core.mesh.service import LibP2PNetwork, MeshStatistics

__all__ = ["LibP2PNetwork", "MeshConfig", "MeshStatistics"]
