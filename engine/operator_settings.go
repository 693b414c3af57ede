package engine

import "context"

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
