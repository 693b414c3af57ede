package engine

import (
	"context"
	"slices"
	"strings"

	"imcd/engine/store"
)

// SettingInfo is one setting of a room (RPC imc.room_settings).
type SettingInfo struct {
	Name   string `json:"name"`
	Value  string `json:"value"`  // in force
	Set    bool   `json:"set"`    // in the room; else it is imcd.yaml's
	Values string `json:"values"` // that are possible, such as on|off
	Help   string `json:"help"`
	Admins bool   `json:"admins"` // admins may change it, not only owners
}

// RoomSettings lists the settings of a room: ErrBadName, ErrNoRoom.
func (e *Engine) RoomSettings(ctx context.Context, uri string) ([]SettingInfo, error) {
	return ask(ctx, e, uri, func(r *room) []SettingInfo {
		list := make([]SettingInfo, 0, len(settingsTable))
		for _, row := range settingsTable {
			set := r.settings.value(row.name) != "" || row.name == settingPrivate && r.private
			list = append(list, SettingInfo{Name: row.name, Value: row.show(r, &e.cfg), Set: set, Values: row.values,
				Help: row.help, Admins: row.admins})
		}
		return list
	})
}

// SetRoom changes a setting of a room and informs its members; the value "default" takes it back. What
// imcd.yaml allows owners does not bind operators. ErrBadName, ErrNoRoom, *Refused.
func (e *Engine) SetRoom(ctx context.Context, room, name, value string) error {
	req, err := e.newOrder(room)
	if err != nil {
		return err
	}
	e.command(req, "set", name, value)
	req.text = value
	return e.execute(ctx, req)
}

// Moderate mutes, bans or warns a user, gives a voice, or takes that back: act is mute, unmute, ban, unban,
// voice, unvoice or warn. term is how long a mute or ban lasts, such as 10m, 2h or 7d, and why is its reason
// or the warning; both may be empty. Owners are not protected. ErrBadName, ErrNoRoom, ErrNoUser, *Refused.
func (e *Engine) Moderate(ctx context.Context, room, act, user, term, why string) error {
	if !slices.Contains(moderating, act) {
		return &Refused{Code: 400, Reason: "act: must be one of " + strings.Join(moderating, ", ")}
	}
	if _, ok := store.ReadTerm(term); !ok && term != "" {
		return &Refused{Code: 400, Reason: "for: must be a time like 10m, 2h or 7d"}
	}
	req, err := e.newOrder(room)
	if err != nil {
		return err
	}
	e.command(req, act, user)
	req.text = strings.TrimSpace(term + " " + why)
	return e.execute(ctx, req)
}

// moderating are the commands that Moderate gives.
var moderating = []string{ruleMute, "unmute", ruleBan, "unban", ruleVoice, "unvoice", "warn"}
