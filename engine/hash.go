package engine

import "hash/fnv"

// hash64 distinguishes the members of a room in Call-IDs.
func hash64(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s)) // never fails
	return h.Sum64()
}

// Hash is Kamailio's core_hash of one string, what {s.corehash} gives in its
// configuration, so that both sides can compute the shard of a room. Of a room
// it is the hash of Name.Key.
func Hash(s string) uint32 {
	var h uint32
	i := 0
	for ; i+4 <= len(s); i += 4 {
		v := uint32(s[i])<<24 + uint32(s[i+1])<<16 + uint32(s[i+2])<<8 + uint32(s[i+3])
		h += v ^ v>>3
	}
	var v uint32
	for ; i < len(s); i++ {
		v = v<<8 + uint32(s[i])
	}
	h += v ^ v>>3
	return h + h>>11 + h>>13 + h>>23
}
