package main

import (
	"flag"
	"fmt"
	"time"
)

// realFlags are the options of the parts about phones as they are: far away, silent,
// back after a time, or many at once.
func (o *options) realFlags(f *flag.FlagSet) {
	f.IntVar(&o.fair.Small, "fairness-small", 5, "fairness: members of the small room")
	f.IntVar(&o.fair.Big, "fairness-big", 10000, "fairness: members of the big room")
	f.IntVar(&o.fair.Silent, "fairness-silent", 6, "fairness: every n-th member of the big room never answers")
	f.IntVar(&o.fair.Rooms, "fairness-rooms", 1500, "fairness: rooms of one silent member each")
	f.DurationVar(&o.fair.Every, "fairness-every", 10*time.Millisecond,
		"fairness: between two messages to the small room")
	f.DurationVar(&o.fair.For, "fairness-for", 10*time.Second, "fairness: how long each case takes in each round")
	f.StringVar(&o.fairCases, "fairness-cases", "",
		"fairness: only cases whose name has one of these in it: always, heard, said, each, rooms, history")
	f.IntVar(&o.back.Messages, "return-messages", 500, "return: messages that are kept for a member that comes back")
	f.DurationVar(&o.back.RTT, "return-rtt", 100*time.Millisecond, "return: how far its phone is away")
	f.IntVar(&o.joins, "joins", 2000, "joins: how many people join a room")
}

// checkReal checks those that have bounds of their own.
func (o *options) checkReal() error {
	for name, d := range map[string]time.Duration{"fairness-every": o.fair.Every, "fairness-for": o.fair.For,
		"return-rtt": o.back.RTT} {
		if d < time.Millisecond {
			return fmt.Errorf("-%s: must be at least 1ms, is %v", name, d)
		}
	}
	if o.fair.Silent < 0 || o.fair.Rooms < 0 {
		return fmt.Errorf("-fairness-silent and -fairness-rooms: must not be negative, are %d and %d", o.fair.Silent,
			o.fair.Rooms)
	}
	if o.fair.Small < 2 || o.fair.Small == o.fair.Big {
		return fmt.Errorf("-fairness-small: must be at least 2 and not that of the big room, is %d", o.fair.Small)
	}
	if o.joins < 2 {
		return fmt.Errorf("-joins: must be at least 2, is %d", o.joins)
	}
	return nil
}
