package relay

// State is the state of the connection to one Kamailio, as it is shown.
type State struct {
	Name       string `json:"name"`
	Up         bool   `json:"up"`
	Queued     int    `json:"queued"`           // frames that wait to be written
	Held       uint64 `json:"held"`             // times that copies waited for Kamailio's memory
	Reconnects uint64 `json:"reconnects"`       // connections after the first
	MemoryFree uint64 `json:"shm_free"`         // bytes of Kamailio's shared memory, as it said last
	Errors     uint64 `json:"errors,omitempty"` // frames that Kamailio refused
}

// States tells of all connections, in the order of the configuration.
func (g *Group) States() []State {
	states := make([]State, 0, len(g.conns))
	for _, c := range g.conns {
		s := c.Stats()
		states = append(states, State{Name: c.Name(), Up: s.Up, Queued: s.Queued, Held: s.Held,
			Reconnects: s.Reconnects, MemoryFree: s.MemoryFree, Errors: s.Errors})
	}
	return states
}
