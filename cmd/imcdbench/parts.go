package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"imcd/cmd/imcdbench/internal/comeback"
	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/fairness"
	"imcd/cmd/imcdbench/internal/growth"
	"imcd/cmd/imcdbench/internal/joins"
	"imcd/cmd/imcdbench/internal/overload"
)

// part is one thing that can be measured.
type part func(ctx context.Context, o *options, raw io.Writer) (passed bool, err error)

// parts by the value of -only.
func parts() map[string]part {
	return map[string]part{
		"compare":  compare,
		"fairness": compared,
		"growth":   growing,
		"joins":    joining,
		"overload": overloaded,
		"return":   returning,
	}
}

// compare lets the contestants run.
func compare(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	lab, err := contest.NewLab(o.lab())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	// What the bars are about comes first, and is told at once: all takes an hour.
	var all []*contest.Measurement
	for _, bars := range []bool{true, false} {
		cells := slices.DeleteFunc(slices.Clone(o.cells), func(c contest.Cell) bool { return contest.HasBars(c) != bars })
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

// growing measures how costs grow.
func growing(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	all, err := growth.Run(ctx, growth.Options{Lab: o.lab(), Sizes: o.sizesGrown, Rooms: o.roomsGrown, Members: 10,
		Messages: 500, Repeat: o.rounds, Rest: o.rest}, raw, os.Stderr)
	if err != nil {
		return false, err
	}
	return growth.Report(os.Stdout, all), nil
}

// reporter is the result of a part.
type reporter interface {
	Report(w io.Writer) (passed bool)
}

// each lets every imcd contestant of the documented set-up do something in a lab of its
// own, which has one room of each of these sizes.
func each(o *options, sizes []int, do func(*contest.Lab, contest.Spec) (reporter, error)) (passed bool, err error) {
	passed = true
	for _, spec := range contest.Documented(o.specs) {
		opts := o.lab()
		if sizes != nil {
			opts.Sizes, opts.Rooms = sizes, 1
		}
		lab, err := contest.NewLab(opts)
		if err != nil {
			return false, err
		}
		res, err := do(lab, spec)
		if err := errors.Join(err, lab.Close()); err != nil {
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
	return each(o, []int{opts.Small, opts.Big}, func(lab *contest.Lab, spec contest.Spec) (reporter, error) {
		lab.Add(1, opts.Rooms)
		return fairness.Run(ctx, lab, spec, opts, raw, os.Stderr)
	})
}

// returning has a member come back.
func returning(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := o.back
	opts.Window = 1
	if n, err := strconv.Atoi(o.set["member_window"]); err == nil {
		opts.Window = n
	}
	return each(o, []int{1}, func(lab *contest.Lab, spec contest.Spec) (reporter, error) {
		return comeback.Run(ctx, lab, spec, opts, raw, os.Stderr)
	})
}

// joining has many people join a room.
func joining(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := joins.Options{People: o.joins, Part: max(1, min(100, o.joins/2)), Quiet: 6 * time.Second}
	return each(o, []int{1}, func(lab *contest.Lab, spec contest.Spec) (reporter, error) {
		return joins.Run(ctx, lab, spec, opts, raw, os.Stderr)
	})
}

// overloaded sends more than can be delivered.
func overloaded(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := overload.Options{Cell: o.overCell, For: o.over, Find: o.find, Factor: o.factor}
	return each(o, nil, func(lab *contest.Lab, spec contest.Spec) (reporter, error) {
		return overload.Run(ctx, lab, spec, opts, raw, os.Stderr)
	})
}
