"""The stages from frames to flow, one file each. Only flow and flow_images import JAX."""
