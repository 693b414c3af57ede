package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"imcd/cmd/imcdbench/internal/comeback"
	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/devices"
	"imcd/cmd/imcdbench/internal/fairness"
	"imcd/cmd/imcdbench/internal/growth"
	"imcd/cmd/imcdbench/internal/hosts"
	"imcd/cmd/imcdbench/internal/joins"
	"imcd/cmd/imcdbench/internal/overload"
	"imcd/cmd/imcdbench/internal/rig"
)

// part is one thing that can be measured.
type part func(ctx context.Context, o *options, raw io.Writer) (passed bool, err error)

// parts by the value of -only.
func parts() map[string]part {
	return map[string]part{
		"compare":  compare,
		"devices":  several,
		"fairness": compared,
		"growth":   growing,
		"hosts":    onHosts,
		"joins":    joining,
		"overload": overloaded,
		"return":   returning,
	}
}

// compare lets the contestants run.
func compare(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	lab, err := contest.NewLab(o.lab(roomsOf(o.cells)))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	// The cells with bars come first, and are reported at once: all cells take an hour.
	var all []*contest.Measurement
	for _, bars := range []bool{true, false} {
		cells := slices.DeleteFunc(slices.Clone(o.cells),
			func(c contest.Cell) bool { return contest.HasBars(c) != bars })
		if len(cells) == 0 {
			continue
		}
		m := contest.Matrix{Cells: cells, Specs: o.specs, Rounds: o.rounds, Timing: o.timing(bars)}
		got, err := lab.Run(ctx, m, raw, os.Stderr)
		if err != nil {
			return false, err
		}
		all = append(all, got...)
		passed = contest.Report(os.Stdout, all)
	}
	return passed, nil
}

// growing measures the growth of costs.
func growing(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	all, err := growth.Run(ctx, growth.Options{Lab: o.lab(nil), Sizes: o.sizesGrown, Rooms: o.roomsGrown, Members: 10,
		Messages: 500, Repeat: o.rounds, Rest: o.rest}, output(raw))
	if err != nil {
		return false, err
	}
	return growth.Report(os.Stdout, all), nil
}

func output(raw io.Writer) rig.Output { return rig.Output{Raw: raw, Progress: os.Stderr} }

// reporter is the result of a measurement.
type reporter interface {
	Report(w io.Writer) (passed bool)
}

// each starts every imcd contestant of the documented set-up, with so many rooms of each size, and measures it.
func each(ctx context.Context, o *options, raw io.Writer, rooms map[int]int,
	measure func(*rig.Rig) (reporter, error)) (passed bool, err error) {
	passed = true
	for _, spec := range contest.Documented(o.specs) {
		r, err := rig.Start(ctx, o.lab(rooms), spec, output(raw))
		if err != nil {
			return false, err
		}
		res, err := measure(r)
		if err := errors.Join(err, r.Stop()); err != nil {
			return false, err
		}
		passed = res.Report(os.Stdout) && passed
	}
	return passed, nil
}

// compared serves a small room beside others.
func compared(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := o.fair
	opts.Rounds, opts.Cases = o.rounds, strings.Split(o.fairCases, ",")
	return each(ctx, o, raw, opts.Sizes(), func(r *rig.Rig) (reporter, error) { return fairness.Run(ctx, r, opts) })
}

// oneRoom has one member.
func oneRoom() map[int]int { return map[int]int{1: 1} }

// returning has a member come back.
func returning(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := o.back
	opts.Window = 1
	if n, err := strconv.Atoi(o.set["member_window"]); err == nil {
		opts.Window = n
	}
	return each(ctx, o, raw, oneRoom(), func(r *rig.Rig) (reporter, error) { return comeback.Run(ctx, r, opts) })
}

// joining has many people join a room.
func joining(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := joins.Options{People: o.joins, Part: max(1, min(100, o.joins/2)), Quiet: 6 * time.Second}
	return each(ctx, o, raw, oneRoom(), func(r *rig.Rig) (reporter, error) { return joins.Run(ctx, r, opts) })
}

// overloaded sends more than can be delivered.
func overloaded(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := overload.Options{Cell: o.overCell, For: o.over, Find: o.find, Factor: o.factor}
	rooms := roomsOf([]contest.Cell{opts.Cell})
	return each(ctx, o, raw, rooms, func(r *rig.Rig) (reporter, error) { return overload.Run(ctx, r, opts) })
}

// several has people with several devices. The imcd beside it knows no devices.
func several(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := o.devices
	opts.Rounds = o.rounds
	plain := *o
	plain.set = maps.Clone(o.set)
	plain.set["devices_per_user"] = "0"
	return each(ctx, o, raw, opts.Sizes(), func(r *rig.Rig) (res reporter, err error) {
		without, err := rig.Start(ctx, plain.lab(opts.Sizes()), r.Spec, output(raw))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, without.Stop()) }()
		return devices.Run(ctx, r, without, opts)
	})
}

// onHosts has one host, and several.
func onHosts(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := o.hosts
	opts.Rounds, opts.Rest = o.rounds, 5500*time.Millisecond
	passed = true
	for _, spec := range contest.Documented(o.specs) {
		res, err := hosts.Run(ctx, o.lab(nil), spec, opts, output(raw))
		if err != nil {
			return false, err
		}
		passed = res.Report(os.Stdout) && passed
	}
	return passed, nil
}
