"""Face videos to shards of optical flow: readers, stages, pipeline."""
