package contest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// Machine names what the measurements were made on.
type Machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryMB   int64  `json:"memory_mb"`
	Kernel     string `json:"kernel"`
	Kamailio   string `json:"kamailio"`
	PostgreSQL string `json:"postgresql"`
	Go         string `json:"go"`
	Imcd       string `json:"imcd"`
}

// ThisMachine looks around. A field that cannot be found out is empty.
func ThisMachine(binary string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(),
		CPU: lineOf("/proc/cpuinfo", "model name"), Kernel: lineOf("/proc/sys/kernel/osrelease", ""),
		Kamailio:   output("kamailio", "-v"),
		PostgreSQL: output("psql", "--version"),
		Imcd:       output(binary, "-version")}
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		m.MemoryMB = int64(info.Totalram) * int64(info.Unit) >> 20
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %d MB, Linux %s; %s; %s; %s; %s", m.CPU, m.Cores, m.MemoryMB, m.Kernel,
		m.Kamailio, m.PostgreSQL, m.Imcd, m.Go)
}

// lineOf is the value of the first line of a file that begins with name.
func lineOf(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			return strings.TrimLeft(rest, "\t :")
		}
	}
	return ""
}

// output is the first line that a program prints.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return name + " unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
