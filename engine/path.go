package engine

import (
	"strconv"
	"strings"
)

// path marks messages that rooms pass on, so that rooms that are members of each other do not pass a
// message round for ever: X-IMC-Path: ID.MARK.MARK, with an id that all copies of a message have, and
// the mark of each room that it has passed. Anybody can write such a header; it only makes the message go
// to fewer rooms.
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

// markOf is the mark of a room.
func markOf(roomKey string) string { return strconv.FormatUint(hash64(roomKey), 36) }

// add reads one header. It ignores other formats; the rooms of several headers count together.
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

// loops reports whether a room must refuse a message with this path.
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

// refuseLoop is the answer to such a message. There is no notice: a room has sent it.
func refuseLoop() *refusal {
	return &refusal{code: 482, rc: rcMessage - rcForbidden, reason: "Loop Detected"}
}
