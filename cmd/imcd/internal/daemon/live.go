package daemon

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imcd/cmd/imcd/internal/bus"
	"imcd/cmd/imcd/internal/console"
	"imcd/cmd/imcd/internal/live"
	"imcd/cmd/imcd/internal/rpc"
	"imcd/cmd/imcd/internal/web"
	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// carrier sends the engine's copies: the Kamailios, and in front of
// them the bots, if there are any.
func (d *Daemon) carrier() engine.Relay {
	d.bots = live.NewBots(d.cfg.Bots, d.relay)
	if len(d.cfg.Bots) == 0 {
		return d.relay
	}
	d.cfg.Engine.KeepOrigins = true
	return d.bots
}

// methods are those of all doors.
func (d *Daemon) methods(version string) map[string]jsonrpc.Method {
	board := &live.Board{Rooms: d.rooms, Kamailios: d.relay.States, Metrics: d.reg,
		Version: version, Started: time.Now(), Bodies: d.cfg.Access.EventBodies}
	d.recent = live.NewRecent(board, d.rooms)
	rooms := rpc.Methods(d.rooms)
	maps.Copy(rooms, board.Methods())
	maps.Copy(rooms, d.recent.Methods())
	if d.store.EngineID() != 0 {
		between := rpc.BetweenMethods(d.rooms)
		maps.Copy(between, rooms)
		between[rpc.PartMethod] = d.partMethod(maps.Clone(between))
		d.calls = bus.NewCalls(d.store, d.served(between), d.log)
		d.rooms.Beside(others{d})
		rooms = d.passedOn(rooms)
	}
	all := live.Methods(d.bots)
	all["imc.check"] = rpc.CheckMethod(d.rooms, func(ctx context.Context, room string) any {
		return d.relay.Check(ctx, room)
	})
	all["imc.drain"] = rpc.DrainMethod(d.drain)
	all["imc.move"] = rpc.MoveMethod(d.move)
	all = d.served(all)
	maps.Copy(all, rooms)
	all["imc.fleet"] = rpc.FleetMethod(d.store) // spares know it as well
	all["imc.undrain"] = rpc.DrainMethod(d.undrain)
	return all
}

// openLive adds the WebSocket and the console to the HTTP server.
func (d *Daemon) openLive(p *web.Parts) error {
	hub := live.NewHub(d.rpc, d.rooms, d.cfg.Access.EventBodies, live.DefaultLimits(), d.log)
	p.Live, p.Console = hub, console.Handler()
	d.recent.Start()
	d.undo = append(d.undo, hub.Stop, d.recent.Stop)
	count := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imc_websockets",
		Help: "WebSockets that are open: consoles, bots, watchers."},
		func() float64 { return float64(hub.Count()) })
	if err := d.reg.Register(count); err != nil {
		return fmt.Errorf("registering the WebSockets' metric: %w", err)
	}
	return nil
}
