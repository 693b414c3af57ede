package engine

import (
	"slices"

	"imcd/engine/store"
)

// indexFrom is the number of members from which on there is an index. With fewer, a search is as fast.
const indexFrom = 17

// roster is the members of a room, oldest first.
type roster struct {
	order   []*member
	index   map[string]*member // by key; nil for a few
	pending int                // of them, those that are only invited
}

// get returns the member with a key; nil if there is none.
func (r *roster) get(key string) *member {
	if r.index != nil {
		return r.index[key]
	}
	for _, m := range r.order {
		if m.key == key {
			return m
		}
	}
	return nil
}

// has reports whether m itself is in the roster.
func (r *roster) has(m *member) bool { return r.get(m.key) == m }

// reserve makes an empty roster large enough for n members.
func (r *roster) reserve(n int) {
	r.order = slices.Grow(r.order, n)
	if n >= indexFrom {
		r.index = make(map[string]*member, n)
	}
}

// put adds m as the last.
func (r *roster) put(m *member) {
	r.order = append(r.order, m)
	if m.invited() {
		r.pending++
	}
	switch {
	case r.index != nil:
		r.index[m.key] = m
	case len(r.order) >= indexFrom:
		r.index = make(map[string]*member, len(r.order))
		for _, m := range r.order {
			r.index[m.key] = m
		}
	}
}

// add makes a new member.
func (r *roster) add(name store.Name, flag int) *member {
	m := newMember(name, flag)
	r.put(m)
	return m
}

func (r *roster) drop(m *member) {
	delete(r.index, m.key)
	i := slices.Index(r.order, m)
	if i < 0 {
		return
	}
	r.order = slices.Delete(r.order, i, i+1)
	if m.invited() {
		r.pending--
	}
}

// admit makes m a full member; it may have been invited.
func (r *roster) admit(m *member) {
	if m.invited() && r.has(m) {
		r.pending--
	}
	m.flag &^= store.MemberInvited
}

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
