package engine

import "hash/fnv"

// hash64 distinguishes the members of a room in Call-IDs.
func hash64(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s)) // never fails
	return h.Sum64()
}
