package engine

import (
	"strconv"
	"strings"
)

// path is the mark of what rooms pass on, so that rooms that are members of each other
// end a message instead of sending it round for ever: X-IMC-Path: ID.MARK.MARK, with an
// id that all copies of what was said have, and the mark of each room that it has
// passed. Anybody can write such a header. All that it does is that the message goes to
// fewer rooms.
type path struct {
	id    string
	rooms []string
}

const (
	// maxPath is how many rooms a message may have passed before the last.
	maxPath = 3
	// maxPathID and maxMark bound the parts.
	maxPathID = 40
	maxMark   = 13 // a uint64 in base 36
)

// markOf is how a room is named in a path.
func markOf(roomKey string) string { return strconv.FormatUint(hash64(roomKey), 36) }

// add reads one header. One that is none of ours is ignored; of several, all rooms
// count.
func (p *path) add(value string) {
	parts := strings.Split(strings.TrimSpace(value), ".")
	id := parts[0]
	if id == "" || len(id) > maxPathID || !onlyOf(id, pathChars) || len(parts) < 2 || len(parts) > 2+maxPath {
		return
	}
	for _, mark := range parts[1:] {
		if mark == "" || len(mark) > maxMark || !onlyOf(mark, base36) {
			return
		}
	}
	if p.id == "" {
		p.id = id
	}
	p.rooms = append(p.rooms, parts[1:]...)
}

const (
	base36    = "0123456789abcdefghijklmnopqrstuvwxyz"
	pathChars = base36 + "-"
)

// String is the value of the header.
func (p path) String() string { return p.id + "." + strings.Join(p.rooms, ".") }

// through is the value of the header once it has passed a room.
func (p path) through(mark string) string {
	if p.id == "" {
		return ""
	}
	if len(p.rooms) == 0 {
		return p.id + "." + mark
	}
	return p.String() + "." + mark
}

// loops reports whether a room must not take what has come this way.
func (p path) loops(roomKey string) bool {
	if len(p.rooms) >= maxPath {
		return true
	}
	if len(p.rooms) == 0 {
		return false
	}
	own := markOf(roomKey)
	for _, mark := range p.rooms {
		if mark == own {
			return true
		}
	}
	return false
}

// refuseLoop is the answer to what must not go on. Nobody is told: it was a room that
// sent it.
func refuseLoop() *refusal {
	return &refusal{code: 482, rc: rcMessage - rcForbidden, reason: "Loop Detected"}
}
