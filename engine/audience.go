package engine

import "slices"

// maxNewcomers is how many members a room remembers with the message that they began with. Earlier ones
// count as if they had always been there.
const maxNewcomers = 64

// noteNewcomer remembers that m takes part from the message after joined on.
func (r *room) noteNewcomer(m *member, joined uint64) {
	if joined == 0 {
		return
	}
	if len(r.newcomers) >= maxNewcomers {
		r.newcomers = slices.Delete(r.newcomers, 0, 1)
	}
	r.newcomers = append(r.newcomers, newcomer{m, joined})
}

// audience lists the members that message seq went to, oldest first: not its author, nor those that came later.
func (r *room) audience(seq uint64, author string) []*member {
	return r.having(func(m *member) bool {
		return !m.invited() && m.key != author &&
			!slices.ContainsFunc(r.newcomers, func(n newcomer) bool { return n.member == m && n.joined >= seq })
	})
}

// takers lists those of them whose phones took it, readers those to whom it was displayed.
func (r *room) takers(seq uint64, author string) []*member {
	return slices.DeleteFunc(r.audience(seq, author), func(m *member) bool {
		return r.deliveredTo(m) < seq && r.places[m].displayed < seq
	})
}

func (r *room) readers(seq uint64, author string) []*member {
	return slices.DeleteFunc(r.audience(seq, author), func(m *member) bool { return r.places[m].displayed < seq })
}
