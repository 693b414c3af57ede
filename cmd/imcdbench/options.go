package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imcd/cmd/imcdbench/internal/comeback"
	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/devices"
	"imcd/cmd/imcdbench/internal/fairness"
	"imcd/cmd/imcdbench/internal/hosts"
)

// options are those of the command line.
type options struct {
	only    string
	rounds  int
	quick   bool
	cells   []contest.Cell
	specs   []contest.Spec
	loaded  time.Duration // 0: see timing
	paced   time.Duration // 0: see timing
	workers int
	shm     int
	buffer  int
	set     map[string]string
	sockets int
	binary  string
	out     string
	strict  bool
	verbose bool
	native  bool

	sizesGrown, roomsGrown []int         // of growth
	rest                   time.Duration // of growth

	overCell   contest.Cell // of overload
	over, find time.Duration
	factor     float64

	fair      fairness.Options
	fairCases string
	back      comeback.Options
	devices   devices.Options
	hosts     hosts.Options
	joins     int // people

	// As they are given.
	members, rooms, bodies, rtts, silent, lanes, contestants, growSizes, growRooms string
}

// parse reads the command line; help goes to w.
func parse(args []string, w io.Writer) (*options, error) {
	o := &options{set: make(map[string]string)}
	f := flag.NewFlagSet("imcdbench", flag.ContinueOnError)
	f.SetOutput(w)
	f.StringVar(&o.only, "only", "compare", "what to measure: "+strings.Join(slices.Sorted(maps.Keys(parts())), ", "))
	f.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement")
	f.BoolVar(&o.quick, "quick", false, "8 rooms of 100 and a room of 1000 members, 100 bytes: those with bars")
	f.StringVar(&o.members, "members", "10,100,1000", "sizes of rooms")
	f.StringVar(&o.rooms, "rooms", "1,8", "how many rooms at once")
	f.StringVar(&o.bodies, "bodies", "100,4096", "sizes of messages, in bytes")
	f.StringVar(&o.rtts, "rtt", "0", "how much later phones answer, in ms: 0,20,100,300")
	f.StringVar(&o.silent, "silent", "0", "every n-th member never answers (6: one of six); 0: all answer")
	f.StringVar(&o.lanes, "lanes", "auto", "imcd's fanout: auto, rpc, batch, sip")
	f.StringVar(&o.contestants, "contestants", "",
		"only those whose name has one of these in it: module/documented, imcd, bare/1, …")
	f.BoolVar(&o.native, "native", false, "beside each imcd one whose rooms are group chats in Linphone, with one "+
		"Linphone that is in none of them")
	f.DurationVar(&o.loaded, "for", 0, "how long messages are sent in a measurement; 0: 6 s, and 8 s where there is a "+
		"bar, or until there are 100: longer than Kamailio keeps a transaction, whose end costs time, too")
	f.DurationVar(&o.paced, "alone", 0, "how long before that they are sent one at a time; 0: 600 ms, and 4 s where "+
		"there is a bar, or until there are 100")
	f.IntVar(&o.workers, "workers", 8, "SIP workers of each Kamailio (8: as in its stock configuration)")
	f.IntVar(&o.shm, "shm", 4096, "shared memory of each Kamailio, in MB; the module takes up to 2 GB of it here, and "+
		"loses copies if there is less")
	f.IntVar(&o.buffer, "maxbuffer", 0, "receive buffer of each Kamailio's sockets, in bytes; 0: its default, 262144")
	f.Func("set", "a setting of imcd, KEY=VALUE; may be given several times", o.setting)
	f.IntVar(&o.sockets, "sockets", 4, "sockets of the sink")
	f.StringVar(&o.binary, "imcd", "", "imcd to measure; empty: built from this source")
	f.StringVar(&o.out, "out", filepath.Join("run", "bench.json"), "file for the raw results")
	f.BoolVar(&o.strict, "strict", false, "exit code 1 if a bar is missed")
	f.BoolVar(&o.verbose, "v", false, "show what Kamailio and imcd print")
	f.StringVar(&o.growSizes, "growth-members", "10,100,1000,10000", "growth: sizes of rooms")
	f.StringVar(&o.growRooms, "growth-rooms", "100,1000,10000,100000",
		"growth: numbers of rooms, of 10 members each, in ascending order")
	f.DurationVar(&o.rest, "growth-rest", 15*time.Second, "growth: how long imcd rests before its memory is read")
	f.DurationVar(&o.over, "overload-for", time.Minute, "overload: how long")
	f.DurationVar(&o.find, "overload-find", 5*time.Second,
		"overload: how long the sustainable rate is measured before")
	f.Float64Var(&o.factor, "overload-factor", 2, "overload: how many times of that rate is sent")
	o.realFlags(f)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.only == "overload" {
		// One cell is enough, unless another is asked for.
		o.members, o.rooms = first(o.members, "10,100,1000", "100"), first(o.rooms, "1,8", "8")
		o.bodies = first(o.bodies, "100,4096", "100")
	}
	return o, errors.Join(o.check(), o.checkReal(), o.makeCells(), o.choose(), o.makeGrowth())
}

// timing is how long a measurement takes, of a cell that bars are about or of another.
func (o *options) timing(bars bool) contest.Timing {
	t := contest.Timing{Paced: 600 * time.Millisecond, Loaded: 6 * time.Second,
		Quiet: 4500 * time.Millisecond, Drain: 40 * time.Second, Idle: 2 * time.Second, After: 5500 * time.Millisecond}
	if bars {
		t.Paced, t.Loaded, t.Least = 4*time.Second, 8*time.Second, 100
	}
	if o.loaded > 0 {
		t.Loaded = o.loaded
	}
	if o.paced > 0 {
		t.Paced = o.paced
	}
	return t
}

func (o *options) check() error {
	if parts()[o.only] == nil {
		return fmt.Errorf("-only: %q is none of %s", o.only, strings.Join(slices.Sorted(maps.Keys(parts())), ", "))
	}
	for name, n := range map[string]int{"rounds": o.rounds, "workers": o.workers, "fairness-small": o.fair.Small,
		"fairness-big": o.fair.Big, "return-messages": o.back.Messages, "shm": o.shm, "sockets": o.sockets} {
		if n < 1 {
			return fmt.Errorf("-%s: must be at least 1, is %d", name, n)
		}
	}
	return nil
}

// choose finds the contestants.
func (o *options) choose() error {
	all := contest.Specs(strings.Split(o.lanes, ","))
	words := strings.Split(o.contestants, ",")
	for _, s := range all {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(s.Name, w) }) {
			o.specs = append(o.specs, s)
		}
	}
	if o.native {
		o.specs = contest.WithNative(o.specs)
	}
	if len(o.specs) == 0 {
		return fmt.Errorf("-contestants: %q names nobody", o.contestants)
	}
	return nil
}

// setting takes a -set.
func (o *options) setting(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return fmt.Errorf("%q is not KEY=VALUE", text)
	}
	o.set[key] = value
	return nil
}

// first is given, or instead if that is the default.
func first(given, def, instead string) string {
	if given == def {
		return instead
	}
	return given
}

func (o *options) makeGrowth() (err error) {
	if o.sizesGrown, err = numbers("growth-members", o.growSizes, 1, 100000); err != nil {
		return err
	}
	if o.roomsGrown, err = numbers("growth-rooms", o.growRooms, 1, 10000000); err != nil {
		return err
	}
	if !slices.IsSorted(o.roomsGrown) {
		return fmt.Errorf("-growth-rooms: %s is not in ascending order", o.growRooms)
	}
	if len(o.cells) > 0 {
		o.overCell = o.cells[0]
	}
	return nil
}

// lab are the options that all measurements share, with so many rooms of each size.
func (o *options) lab(rooms map[int]int) contest.Options {
	opts := contest.Options{Binary: o.binary, Workers: o.workers, SHM: o.shm, Buffer: o.buffer, Sockets: o.sockets,
		Set: o.set, Rooms: rooms}
	if o.verbose {
		opts.Log = os.Stderr
	}
	return opts
}
