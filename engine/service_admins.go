package engine

import (
	"fmt"
	"strings"
)

// newServiceAdmins reads service_admins: the keys of users who may do in every room what its owner may.
func newServiceAdmins(list string) (map[string]bool, error) {
	admins := make(map[string]bool)
	for uri := range strings.SplitSeq(list, ",") {
		if uri = strings.TrimSpace(uri); uri == "" {
			continue
		}
		name, err := ParseName(uri, "")
		if err != nil {
			return nil, fmt.Errorf("%q: %w", clip(uri), err)
		}
		admins[name.Key()] = true
	}
	return admins, nil
}

// serviceAdmin reports whether the sender is one of service_admins. Anybody can write in the name of a
// user of another domain.
func (c *call) serviceAdmin() bool {
	admins := c.shard.engine.admins
	return len(admins) > 0 && c.req != nil && !c.req.foreign && admins[c.req.fromKey()]
}

// owns reports whether the sender may do what an owner of the room may.
func (c *call) owns() bool {
	return c.service() || c.me != nil && c.me.owner() || c.serviceAdmin()
}

// administers reports whether the sender may do what an admin of the room may.
func (c *call) administers() bool { return c.me != nil && c.me.rights() || c.owns() }

// outside reports whether a service admin acts on a room without being in it: notices to the members do not
// reach it.
func (c *call) outside() bool {
	return (c.me == nil || c.me.invited()) && c.req != nil && c.req.cmd != nil && c.serviceAdmin()
}
