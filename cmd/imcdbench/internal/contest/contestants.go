package contest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	kamailiocfg "imcd/kamailio-cfg"
)

// kind is the program that has the rooms.
type kind string

const (
	module kind = "module"
	imcd   kind = "imcd"
	bare   kind = "bare"
)

// Spec describes a contestant.
type Spec struct {
	Name     string
	kind     kind
	straight bool
	lane     string // imcd's fanout; empty: its default
	workers  int    // SIP workers; 0: as all
	native   bool   // rooms are group chats for clients that have such, and there is one
}

// Specs are the contestants, by name "module/documented", "module/straight",
// "bare/1", "bare/4", and "imcd/documented" and "imcd/straight" for the lane
// "auto", "imcd-LANE/…" for others.
func Specs(lanes []string) []Spec {
	list := []Spec{
		{Name: "module/documented", kind: module},
		{Name: "module/straight", kind: module, straight: true},
	}
	for _, lane := range lanes {
		name := "imcd"
		if lane == "auto" {
			lane = ""
		} else {
			name += "-" + lane
		}
		list = append(list,
			Spec{Name: name + "/documented", kind: imcd, lane: lane},
			Spec{Name: name + "/straight", kind: imcd, lane: lane, straight: true})
	}
	return append(list,
		Spec{Name: "bare/1", kind: bare, straight: true, workers: 1},
		Spec{Name: "bare/4", kind: bare, straight: true, workers: 4})
}

// Find returns the contestant of that name, which must be one of Specs with the
// lane "auto".
func Find(name string) Spec {
	for _, s := range Specs([]string{"auto"}) {
		if s.Name == name {
			return s
		}
	}
	panic("contest: no contestant " + name)
}

// WithNative puts behind each imcd of list one whose rooms are group chats in Linphone: "imcd-native/…". One Linphone
// is registered there, and in none of the rooms.
func WithNative(list []Spec) (specs []Spec) {
	for _, s := range list {
		if specs = append(specs, s); s.kind == imcd {
			program, setup, _ := strings.Cut(s.Name, "/")
			s.Name, s.native = program+"-native/"+setup, true
			specs = append(specs, s)
		}
	}
	return specs
}

// Documented are those of list that are imcd in the documented set-up.
func Documented(list []Spec) (specs []Spec) {
	for _, s := range list {
		if s.kind == imcd && !s.straight {
			specs = append(specs, s)
		}
	}
	return specs
}

// Place is where an imcd runs that is one of several.
type Place struct {
	DB    *Database // of all of them; who made it stops it
	Port  int       // of its Kamailio, for SIP
	Local string    // lines for its Kamailio's imc-local.cfg
	Spare bool      // another imcd has the rooms when it starts
}

// System is a running contestant.
type System struct {
	Spec     Spec
	lab      *Lab
	place    *Place // nil: alone
	db       *Database
	kamailio *evapitest.Kamailio
	stack    *stack.Stack  // imcd only; then kamailio is its
	linphone *evapitest.UA // of Spec.native
	// reading is the measurement whose CPU time is still to be read.
	reading *Measurement
}

// Start starts a contestant, with all members registered if it needs that.
func (l *Lab) Start(ctx context.Context, spec Spec) (*System, error) {
	return l.start(ctx, &System{Spec: spec, lab: l})
}

// StartAt is Start for an imcd that is one of several. The members of other labs are not registered there.
func (l *Lab) StartAt(ctx context.Context, spec Spec, p Place) (*System, error) {
	return l.start(ctx, &System{Spec: spec, lab: l, place: &p})
}

func (l *Lab) start(ctx context.Context, s *System) (*System, error) {
	spec := s.Spec
	start := map[kind]func(context.Context) error{module: s.startModule, imcd: s.startImcd,
		bare: s.startBare}[spec.kind]
	err := start(ctx)
	if err == nil && !spec.straight {
		err = s.RegisterAll(ctx)
	}
	if err == nil && spec.native {
		err = s.registerLinphone(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.Name, err), s.Stop())
	}
	return s, nil
}

// options are those of the Kamailio of s, with lines for its kamailio-local.cfg.
func (s *System) options(local ...string) (evapitest.Options, error) {
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		return evapitest.Options{}, err
	}
	workers := s.Spec.workers
	if workers == 0 {
		workers = s.lab.opts.Workers
	}
	imcLocal := ""
	if s.place != nil {
		ports[0], imcLocal = s.place.Port, s.place.Local
	}
	if s.Spec.native {
		imcLocal += "\n#!define IMC_NATIVE"
	}
	proxy := fmt.Sprintf("sip:127.0.0.1:%d", ports[0])
	if s.Spec.straight {
		proxy = s.lab.sinkURI()
	}
	local = append(local, fmt.Sprintf("#!define BENCH_%s", strings.ToUpper(string(s.Spec.kind))),
		fmt.Sprintf("#!define IMC_OUTBOUND_PROXY %q", proxy), fmt.Sprintf("#!define BENCH_SINK %q", proxy))
	if s.lab.opts.Buffer > 0 {
		local = append(local, fmt.Sprintf("#!define BENCH_BUFFER %d", s.lab.opts.Buffer))
	}
	if s.Spec.kind != imcd {
		// Who starts it waits for its evapi, which it has none of.
		local = append(local, "listen=tcp:127.0.0.1:"+strconv.Itoa(ports[1]))
	}
	return evapitest.Options{Config: kamailiocfg.File(kamailiocfg.Bench), Workers: workers, SHM: s.lab.opts.SHM,
		SIPPort: ports[0], EvapiPort: ports[1], Local: strings.Join(local, "\n"), IMCLocal: imcLocal,
		Log: s.lab.opts.Log}, nil
}

func (s *System) startModule(ctx context.Context) (err error) {
	if s.db, err = NewDatabase(ctx, s.lab.Fill()); err != nil {
		return err
	}
	return s.startKamailio(ctx, fmt.Sprintf("#!define IMC_DB_URL %q", s.db.url))
}

func (s *System) startBare(ctx context.Context) error { return s.startKamailio(ctx) }

// startKamailio starts a Kamailio alone, with lines for its kamailio-local.cfg.
func (s *System) startKamailio(ctx context.Context, local ...string) error {
	opts, err := s.options(local...)
	if err != nil {
		return err
	}
	s.kamailio, err = evapitest.StartKamailio(ctx, opts)
	return err
}

func (s *System) startImcd(ctx context.Context) (err error) {
	spare := false
	if s.place != nil {
		s.db, spare = s.place.DB, s.place.Spare
	} else if s.db, err = NewDatabase(ctx, s.lab.Fill()); err != nil {
		return err
	}
	opts, err := s.options()
	if err != nil {
		return err
	}
	settings := map[string]string{"durability": "commit"}
	if s.Spec.straight {
		settings["outbound_proxy"] = s.lab.sinkURI()
	}
	if s.Spec.lane != "" {
		settings["fanout"] = s.Spec.lane
	}
	maps.Copy(settings, s.lab.opts.Set)
	s.stack, err = stack.Start(ctx, stack.Options{Binary: s.lab.opts.Binary, DBURL: s.db.url, Settings: settings,
		Kamailio: opts, Spare: spare, Log: s.lab.opts.Log})
	if err != nil {
		return err
	}
	s.kamailio = s.stack.Kamailio()
	return nil
}

// RegisterAll registers all members, again if they are registered.
func (s *System) RegisterAll(ctx context.Context) error { return s.lab.RegisterAll(ctx, s.Addr()) }

// registerLinphone registers a client that knows rooms as group chats.
func (s *System) registerLinphone(ctx context.Context) (err error) {
	s.linphone, err = evapitest.NewUA(evapitest.UAConfig{User: "linphone", Domain: load.Domain, Proxy: s.Addr(),
		ContactParams: `;+sip.instance="<urn:uuid:linphone>";+org.linphone.specs="groupchat/1.1"`})
	if err != nil {
		return err
	}
	return s.linphone.Register(ctx)
}

// Addr is where the contestant takes SIP.
func (s *System) Addr() string { return s.kamailio.SIPAddr() }

// Rooms are its first n rooms of a size.
func (s *System) Rooms(size, n int) []load.Room { return s.lab.Rooms(size, n) }

// Stack is the contestant's imcd and Kamailio; nil if it is no imcd.
func (s *System) Stack() *stack.Stack { return s.stack }

// Stop ends the contestant and removes its files.
func (s *System) Stop() error {
	var err error
	if s.linphone != nil {
		err = s.linphone.Close()
	}
	switch {
	case s.stack != nil:
		err = errors.Join(err, s.stack.Stop())
	case s.kamailio != nil:
		err = s.kamailio.Stop()
	}
	if s.place != nil {
		return err
	}
	return errors.Join(err, s.db.Stop())
}
