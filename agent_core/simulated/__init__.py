"""A whole network in one process: the same ``Network`` protocol as the mesh, on any trio clock, with faults to inject."""
