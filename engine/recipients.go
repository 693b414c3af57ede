package engine

import (
	"hash/maphash"
)

const (
	// userCopies bounds the copies under way to one user in a shard, however many rooms the user is in.
	userCopies = 8
	// recipientSlots is how many hashes users have in recipients.
	recipientSlots = 1 << 13
	// slotCopies is from how many copies with the same hash on further ones are counted by name, too.
	slotCopies = userCopies / 2
)

// recipients counts the copies under way by recipient.
type recipients struct {
	seed  maphash.Seed
	under []uint16           // copies under way by the hash of the user's key; several users may have the same
	named map[string]uint16  // by user key: copies that were sent while there were slotCopies of the same hash
	wait  map[string][]aside // by user key: members that wait until fewer copies are under way to their user
}

func newRecipients(seed maphash.Seed) recipients {
	return recipients{seed: seed, under: make([]uint16, recipientSlots),
		named: make(map[string]uint16), wait: make(map[string][]aside)}
}

func (c *recipients) slot(user string) uint16 {
	return uint16(maphash.String(c.seed, user) % recipientSlots)
}

// add counts one more.
func (c *recipients) add(f *sentCopy) {
	f.slot = c.slot(f.to())
	if f.named = c.under[f.slot] >= slotCopies; f.named {
		c.named[f.to()]++
	}
	c.under[f.slot]++
}

// most reports whether n copies are under way to a user. If several users have the same hash, these may
// be slotCopies fewer.
func (c *recipients) most(user string, n int) bool {
	return int(c.under[c.slot(user)]) >= n && int(c.named[user]) >= n-slotCopies
}
