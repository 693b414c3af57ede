package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"imcd/cmd/imcdbench/internal/contest"
)

// makeCells reads the sizes of deliveries, and the kinds of phones.
func (o *options) makeCells() error {
	lists := make(map[string][]int)
	for _, l := range []struct {
		name, text  string
		least, most int
	}{
		{"bodies", o.bodies, 1, 60000},
		{"members", o.members, 1, 100000},
		{"rooms", o.rooms, 1, 1000},
		{"rtt", o.rtts, 0, 10000},
		{"silent", o.silent, 0, 1000},
	} {
		var err error
		if lists[l.name], err = numbers(l.name, l.text, l.least, l.most); err != nil {
			return err
		}
	}
	if slices.Contains(lists["silent"], 1) {
		return errors.New("-silent: 1 leaves nobody who answers")
	}
	var sizes []contest.Cell
	for _, b := range lists["bodies"] {
		for _, m := range lists["members"] {
			for _, r := range lists["rooms"] {
				sizes = append(sizes, contest.Cell{Members: m, Rooms: r, Body: b})
			}
		}
	}
	if o.quick {
		sizes = []contest.Cell{{Members: 100, Rooms: 8, Body: 100}, {Members: 1000, Rooms: 1, Body: 100}}
	}
	for _, c := range sizes {
		for _, c.Silent = range lists["silent"] {
			for _, c.RTT = range lists["rtt"] {
				o.cells = append(o.cells, c)
			}
		}
	}
	return nil
}

// numbers reads a list "1,2,3".
func numbers(name, text string, least, most int) (list []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < least || n > most {
			return nil, fmt.Errorf("-%s: %q is no number from %d to %d", name, word, least, most)
		}
		list = append(list, n)
	}
	return list, nil
}

// roomsOf is how many rooms of each size the cells need.
func roomsOf(cells []contest.Cell) map[int]int {
	rooms := make(map[int]int)
	for _, c := range cells {
		rooms[c.Members] = max(rooms[c.Members], c.Rooms)
	}
	return rooms
}
