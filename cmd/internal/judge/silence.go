package judge

import (
	"slices"
	"time"
)

// Silence is the longest time in which no message of a room was answered 2xx.
type Silence struct {
	Room string
	From time.Time
	Took time.Duration
}

// Silences returns the longest silence of each room between the begin and the end of the talk, the
// longest first. Phones must talk in each room all the time, or the pause of theirs counts.
func (l *Log) Silences(begin, end time.Time) []Silence {
	answers := make(map[string][]time.Time)
	for _, m := range l.Messages() {
		if at := answers[m.Room]; m.accepted() {
			answers[m.Room] = append(at, m.Ended)
		} else if at == nil {
			answers[m.Room] = []time.Time{} // a room without an answer was silent all the time
		}
	}
	var list []Silence
	for room, at := range answers {
		s := Silence{Room: room}
		last := begin
		at = slices.DeleteFunc(at, func(t time.Time) bool { return t.Before(begin) || t.After(end) })
		slices.SortFunc(at, time.Time.Compare)
		for _, t := range append(at, end) {
			if took := t.Sub(last); took > s.Took {
				s.From, s.Took = last, took
			}
			last = t
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Silence) int { return int(b.Took - a.Took) })
	return list
}

// Latencies returns how long messages answered 2xx took, from their first try on, in ascending order.
func (l *Log) Latencies() []time.Duration {
	var list []time.Duration
	for _, m := range l.Messages() {
		if m.accepted() {
			list = append(list, m.Ended.Sub(m.Begun))
		}
	}
	slices.Sort(list)
	return list
}
