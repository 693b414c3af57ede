package store

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

// Part says which rooms: those of some shards of a fleet. The zero Part is all rooms.
type Part struct {
	Of     int     // shards of all engines together, as in Fleet; 0: all rooms
	Shards []int64 // sorted
}

// All reports whether p is all rooms.
func (p Part) All() bool { return p.Of == 0 || len(p.Shards) == p.Of }

// Matcher returns a function that reports whether a room, by the hash of its key, is in p.
func (p Part) Matcher() func(hash uint32) bool {
	if p.All() {
		return func(uint32) bool { return true }
	}
	in := make([]bool, p.Of)
	for _, s := range p.Shards {
		in[s] = true
	}
	return func(hash uint32) bool { return in[hash&uint32(p.Of-1)] }
}
