package engine

import (
	"errors"
	"fmt"
	"time"

	"imcd/engine/store"
)

// A room may end after so long without a message (#set idle). Its owners hear of that a tenth of the time before.

const (
	// idleLook is how often a shard looks for such rooms.
	idleLook = time.Minute
	// settingIdleSince is stored beside idle, and is nothing that somebody sets: when the last message came, and when
	// the owners were warned, in ms; 0: they were not. An imcd that knows nothing of it keeps it.
	settingIdleSince = "idle_since"
)

// idleRooms ends idle rooms of a shard, which owns it.
type idleRooms struct {
	shard  *shard
	looked time.Time
}

// tick looks at all rooms if it is time for that.
func (g *idleRooms) tick() {
	s := g.shard
	if s.now.Sub(g.looked) < idleLook || s.engine.stopping.Load() {
		return
	}
	g.looked = s.now
	for _, r := range s.rooms {
		if r.settings != nil && r.settings.idle > 0 {
			g.look(r, r.settings.idle)
		}
	}
}

// look notes that something was said, warns the owners of r, or ends it.
func (g *idleRooms) look(r *room, idle time.Duration) {
	// Messages of so long are not noted, so that few are: after a restart the room has that much more time.
	slack := idle / 20
	noted, warned := r.idleSince()
	said := r.spoken
	if said.IsZero() {
		said = noted.Add(slack)
	}
	c, now := g.shard.own(r), g.shard.now
	quiet := now.Sub(said) >= idle-idle/10
	switch {
	case noted.IsZero():
		c.noteIdle(now, time.Time{})
	case !quiet && (said.Sub(noted) > slack || !warned.IsZero()):
		c.noteIdle(said, time.Time{})
	case quiet && warned.IsZero():
		c.noteIdle(noted, now)
		for _, m := range r.owners() {
			c.tellKept(m.name(), "idle_warned", vars{"time": historyTime(now.Add(idle/10), now)})
		}
	case quiet && now.Sub(warned) >= idle/10:
		c.end("idle_ended")
	default:
		return
	}
	g.shard.submit(c)
}

// noteIdle stores when the last message came, and when the owners were warned; zero: they were not.
func (c *call) noteIdle(said, warned time.Time) {
	value := fmt.Sprint(said.UnixMilli(), " ", max(0, warned.UnixMilli()))
	c.room.settings = c.room.settings.with(settingIdleSince, value)
	c.putSetting(settingIdleSince, "", value)
}

// beginIdle lets the time of a room begin again whose setting was changed.
func (c *call) beginIdle() {
	c.room.spoken = c.shard.now
	if s := c.room.settings; s != nil && s.idle > 0 {
		c.noteIdle(c.shard.now, time.Time{})
	} else if s.value(settingIdleSince) != "" {
		c.room.settings = s.with(settingIdleSince, "")
		c.putSetting(settingIdleSince, "", "")
	}
}

// idleSince is what noteIdle has stored; zero: nothing.
func (r *room) idleSince() (said, warned time.Time) {
	var at, since int64
	if n, _ := fmt.Sscan(r.settings.value(settingIdleSince), &at, &since); n != 2 {
		return time.Time{}, time.Time{}
	}
	return time.UnixMilli(at), untilOf(since)
}

func fillIdle(s *settings, value string) error {
	d, ok := store.ReadTerm(value)
	if value != wordOff && (!ok || d < 24*time.Hour) {
		return errors.New("'" + clip(value) + "' is neither off nor a time from 1d to 366d")
	}
	s.idle = d
	return nil
}

func showIdle(r *room, _ *Config) string {
	if r.settings == nil || r.settings.idle == 0 {
		return wordOff
	}
	return store.ShowTerm(r.settings.idle)
}
