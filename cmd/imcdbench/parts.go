package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/fairness"
	"imcd/cmd/imcdbench/internal/growth"
	"imcd/cmd/imcdbench/internal/overload"
)

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
		got, err := lab.Run(ctx, contest.Matrix{Cells: cells, Specs: o.specs, Rounds: o.rounds, Timing: o.timing(bars)}, raw, os.Stderr)
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
	all, err := growth.Run(ctx, growth.Options{Lab: o.lab(), Sizes: o.sizesGrown, Rooms: o.roomsGrown, Members: 10, Messages: 500,
		Repeat: o.rounds, Rest: o.rest}, raw, os.Stderr)
	if err != nil {
		return false, err
	}
	return growth.Report(os.Stdout, all), nil
}

// compared lets the imcd contestants of the documented set-up serve a small room
// beside a big one.
func compared(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	opts := o.lab()
	opts.Sizes, opts.Rooms = []int{o.fairSmall, o.fairBig}, 1
	lab, err := contest.NewLab(opts)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	for _, spec := range contest.Documented(o.specs) {
		res, err := fairness.Run(ctx, lab, spec, fairness.Options{Small: o.fairSmall, Big: o.fairBig, For: o.fairFor, Rounds: o.rounds}, raw, os.Stderr)
		if err != nil {
			return false, err
		}
		res.Report(os.Stdout)
	}
	return true, nil
}

// overloaded sends the imcd contestants of the documented set-up more than they
// can deliver.
func overloaded(ctx context.Context, o *options, raw io.Writer) (passed bool, err error) {
	lab, err := contest.NewLab(o.lab())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	passed = true
	for _, spec := range contest.Documented(o.specs) {
		res, err := overload.Run(ctx, lab, spec, overload.Options{Cell: o.overCell, For: o.over, Find: o.find, Factor: o.factor}, raw, os.Stderr)
		if err != nil {
			return false, err
		}
		passed = res.Report(os.Stdout) && passed
	}
	return passed, nil
}
