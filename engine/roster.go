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
