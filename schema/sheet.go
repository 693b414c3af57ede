package schema

import (
	"context"
	"encoding/binary"
	"sync"

	"imcd/engine/store"
)

// Between the goroutine that reads members and the one that finds their rooms
// there are at most sheets sheets, of little more than sheetSize bytes each.
const (
	sheets    = 4
	sheetSize = 64 << 10
)

// sheet is a list of members as they came: the room's URI and what packed holds of
// the member, each after its length.
type sheet []byte

// add appends a member, which is a packed list of one.
func (s sheet) add(room string, member packed) sheet {
	s = binary.AppendUvarint(s, uint64(len(room)))
	s = append(s, room...)
	s = binary.AppendUvarint(s, uint64(len(member)))
	return append(s, member...)
}

// take returns the first member of a sheet that is not empty, and the rest.
func (s sheet) take() (room []byte, member packed, rest sheet) {
	room, s = s.cut()
	one, rest := s.cut()
	return room, packed(one), rest
}

func (s sheet) cut() (part []byte, rest sheet) {
	size, n := binary.Uvarint(s)
	end := n + int(size)
	return s[n:end], s[end:]
}

// readMembers gives the rows of sqlLoadMembers, or of a query like it, to a. This
// goroutine reads, and another has a meanwhile: with a million members, each has
// half a second's work.
func (s *Store) readMembers(ctx context.Context, snap snapshot, a *assembler, query string, args ...any) error {
	full, empty := make(chan sheet, sheets), make(chan sheet, sheets)
	for range sheets {
		empty <- nil
	}
	var assembling sync.WaitGroup
	assembling.Go(func() {
		for list := range full {
			a.addMembers(list)
			empty <- list[:0]
		}
	})
	var member packed
	list := <-empty
	err := s.scan(ctx, snap, s.opts.MembersTable, func(r *row) {
		user, host, flag := r.text(2), r.text(3), r.number(4)
		if flag&store.MemberDeleted != 0 {
			return
		}
		if !usableName(user, host) {
			a.oddMembers.add("sip:" + user + "@" + host + " in " + r.text(1))
			return
		}
		member = member[:0].add(r.number(0), int(flag)&memberFlags, user, host)
		if list = list.add(r.text(1), member); len(list) >= sheetSize {
			full <- list
			list = <-empty
		}
	}, query, args...)
	full <- list
	close(full)
	assembling.Wait()
	return err
}
