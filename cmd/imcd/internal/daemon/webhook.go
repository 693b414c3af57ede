package daemon

import (
	"context"
	"slices"

	"imcd/cmd/imcd/internal/config"
	"imcd/cmd/imcd/internal/webhook"
	"imcd/engine/store"
)

// makeWebhook makes what sends events to the operator's program. Nothing runs yet.
func (d *Daemon) makeWebhook() error {
	var err error
	d.webhook, err = webhook.New(d.cfg.Webhook, d.store, d.rooms, d.ownPart, d.reg, d.log)
	return err
}

// ownPart is the part of all rooms that this imcd has.
func (d *Daemon) ownPart() store.Part {
	_, all := d.store.Owned()
	if d.store.EngineID() == 0 || all == 0 {
		return store.Part{}
	}
	return store.Part{Of: all, Shards: slices.Clone(d.rooms.Owned().Shards)}
}

// startWebhook begins to send events, once the rooms are loaded.
func (d *Daemon) startWebhook(ctx context.Context) error {
	if err := d.webhook.Start(ctx); err != nil {
		return &config.Error{Key: "db_url", Err: err}
	}
	d.undo = append(d.undo, d.webhook.Stop)
	return nil
}

// warnings are those of /readyz.
func (d *Daemon) warnings() []string {
	all := d.relay.Warnings()
	if w := d.webhook.Warning(); w != "" {
		all = append(all, w)
	}
	return all
}
