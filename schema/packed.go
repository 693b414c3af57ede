package schema

import (
	"encoding/binary"
	"iter"
	"strings"

	"imcd/engine/store"
)

// packed is a list of names with a number and flags each, in as few bytes as possible:
// between reading and handing on there may be a million of them.
type packed []byte

// packedName is an entry of such a list.
type packedName struct {
	number int64  // of a member: its row's id; of a cursor: its seq
	flag   int    // one byte
	full   string // user@host
	user   int    // length of the user part of full
}

func (p packedName) name() store.Name {
	return store.Name{User: p.full[:p.user], Host: p.full[p.user+1:]}
}

// key is name().Key() without a new string where full is in lower case.
func (p packedName) key() string {
	if strings.IndexByte(p.full, '%') >= 0 {
		return p.name().Key()
	}
	return strings.ToLower(p.full)
}

// add appends an entry.
func (p packed) add(number int64, flag int, user, host string) packed {
	p = binary.AppendVarint(p, number)
	p = append(p, byte(flag))
	p = binary.AppendUvarint(p, uint64(len(user)))
	p = binary.AppendUvarint(p, uint64(len(host)))
	p = append(p, user...)
	p = append(p, '@')
	return append(p, host...)
}

// number is that of the first entry.
func (p packed) number() int64 {
	n, _ := binary.Varint(p)
	return n
}

// all returns the entries, in the order in which they were added. Their strings
// are parts of one.
func (p packed) all() iter.Seq[packedName] {
	text := string(p)
	return func(yield func(packedName) bool) {
		for at := 0; at < len(p); {
			var e packedName
			var n int
			e.number, n = binary.Varint(p[at:])
			at += n
			e.flag = int(p[at])
			at++
			user, n := binary.Uvarint(p[at:])
			at += n
			host, n := binary.Uvarint(p[at:])
			at += n
			end := at + int(user) + len("@") + int(host)
			e.user, e.full = int(user), text[at:end]
			at = end
			if !yield(e) {
				return
			}
		}
	}
}
