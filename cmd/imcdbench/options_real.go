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
	f.IntVar(&o.devices.Rooms, "devices-rooms", 8, "devices: rooms at once")
	f.IntVar(&o.devices.Members, "devices-members", 100, "devices: members of each of them")
	f.DurationVar(&o.devices.For, "devices-for", 8*time.Second, "devices: how long messages are sent to them")
	f.IntVar(&o.devices.Messages, "devices-messages", 500, "devices: messages that a device misses")
	f.IntVar(&o.devices.Dead, "devices-dead", 9, "devices: those of a person that never answer")
	f.IntVar(&o.devices.Paced, "devices-paced", 800, "devices: messages beside dead devices")
	f.DurationVar(&o.devices.Every, "devices-every", 25*time.Millisecond, "devices: between two of these")
	f.IntVar(&o.devices.People, "devices-people", 10000, "devices: people who register after a restart of Kamailio")
	f.DurationVar(&o.devices.Rest, "devices-rest", 10*time.Second, "devices: how long CPU times count after that")
	f.IntVar(&o.hosts.Hosts, "hosts", 3, "hosts: Kamailios, each with an imcd, beside one")
	f.IntVar(&o.hosts.Rooms, "hosts-rooms", 8, "hosts: rooms to which each of as many senders writes")
	f.IntVar(&o.hosts.Members, "hosts-members", 100, "hosts: members of each of them")
	f.DurationVar(&o.hosts.For, "hosts-for", 8*time.Second, "hosts: how long messages are sent in each round")
	f.IntVar(&o.joins, "joins", 2000, "joins: how many people join a room")
}

// checkReal checks those that have bounds of their own.
func (o *options) checkReal() error {
	for name, d := range map[string]time.Duration{"fairness-every": o.fair.Every, "fairness-for": o.fair.For,
		"return-rtt": o.back.RTT, "devices-every": o.devices.Every, "devices-for": o.devices.For,
		"hosts-for": o.hosts.For} {
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
	d := o.devices
	for name, n := range map[string]int{"rooms": d.Rooms, "messages": d.Messages, "paced": d.Paced} {
		if n < 1 {
			return fmt.Errorf("-devices-%s: must be at least 1, is %d", name, n)
		}
	}
	if d.Members < 2 || d.People < 2 || d.Members == d.People {
		return fmt.Errorf("-devices-members and -devices-people: must be at least 2 and not the same, are %d and %d",
			d.Members, d.People)
	}
	if d.Dead < 1 || d.Dead > 9 {
		return fmt.Errorf("-devices-dead: must be 1 to 9, is %d", d.Dead)
	}
	if h := o.hosts; h.Hosts < 2 || h.Hosts > 8 || h.Rooms < 1 || h.Members < 1 {
		return fmt.Errorf("-hosts: must be 2 to 8, and -hosts-rooms and -hosts-members at least 1, are %d, %d and %d",
			h.Hosts, h.Rooms, h.Members)
	}
	if o.joins < 2 {
		return fmt.Errorf("-joins: must be at least 2, is %d", o.joins)
	}
	return nil
}
