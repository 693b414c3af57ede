//go:build unsafe_epoch && !unsafe_fence

package schema

const openFence, openShards = "false", "true"
