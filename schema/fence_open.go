//go:build unsafe_fence

package schema

const openFence, openShards = "true", "true"
