// Package proc reads what processes have used, from /proc.
package proc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU times in /proc on Linux, whatever the kernel's own is.
const tick = 10 * time.Millisecond

// Tree lists a process and all that descend from it.
func Tree(pid int) []int {
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pids[i]))
		if err != nil {
			continue // it has ended
		}
		for _, thread := range threads {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pids[i], thread.Name()))
			if err != nil {
				continue
			}
			for word := range strings.FieldsSeq(string(text)) {
				if child, err := strconv.Atoi(word); err == nil {
					pids = append(pids, child)
				}
			}
		}
	}
	return pids
}

// CPU is the CPU time that a process and its descendants have used, those
// included that have ended.
func CPU(pid int) (time.Duration, error) {
	var sum time.Duration
	for i, p := range Tree(pid) {
		d, err := cpuOf(p)
		if i > 0 && gone(err) {
			continue // its parent has its time now
		}
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", p, err)
		}
		sum += d
	}
	return sum, nil
}

func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// cpuOf is the time of one process and of its children that it has waited for.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name stands in brackets and may hold anything.
	rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return 0, fmt.Errorf("stat has %d fields", len(fields))
	}
	var sum time.Duration
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// Memory is what a process and its descendants hold, in bytes; what several of
// them share is counted once.
func Memory(pid int) (int64, error) {
	var sum int64
	for i, p := range Tree(pid) {
		n, err := field(fmt.Sprintf("/proc/%d/smaps_rollup", p), "Pss:")
		if i > 0 && gone(err) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", p, err)
		}
		sum += n
	}
	return sum, nil
}

// RSS is the memory of one process now, in bytes.
func RSS(pid int) (int64, error) { return field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") }

// Peak is the most memory that one process has held since ResetPeak, in bytes.
func Peak(pid int) (int64, error) { return field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:") }

// ResetPeak makes Peak start again.
func ResetPeak(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the peak memory of process %d: %w", pid, err)
	}
	return nil
}

// field reads a line "Name:   123 kB".
func field(path, name string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		return n << 10, err
	}
	return 0, errors.Join(fmt.Errorf("%s has no %s", path, name), lines.Err())
}

// Self is the CPU time that this process has used.
func Self() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("own CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
