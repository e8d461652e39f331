"""Features of a pool or target on disk: written once by `featurize`, then read shard by shard."""
