package evapitest

import (
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	kamailiocfg "imcd/kamailio-cfg"
)

// fill puts defaults in place of zero values.
func (o *Options) fill() error {
	ports, err := FreePorts(2)
	if err != nil {
		return err
	}
	orInt(&o.SIPPort, ports[0])
	orInt(&o.EvapiPort, ports[1])
	orInt(&o.Workers, 2)
	orInt(&o.SHM, 256)
	orInt(&o.PKG, 16)
	orString(&o.Secret, rand.Text())
	orString(&o.OperatorSecret, rand.Text())
	orString(&o.Program, os.Getenv("IMCD_TEST_KAMAILIO"))
	orString(&o.Program, "kamailio")
	if o.Config == "" {
		o.Config = defaultConfig()
	}
	return nil
}

func orInt(p *int, def int) {
	if *p == 0 {
		*p = def
	}
}

func orString(p *string, def string) {
	if *p == "" {
		*p = def
	}
}

func (k *Kamailio) writeFiles() error {
	o := &k.opts
	files := kamailiocfg.DropIn()
	files["kamailio.cfg"] = o.Config
	files["kamailio-local.cfg"] = fmt.Sprintf("#!define IMC_LISTEN\nlisten=udp:%[1]s\nlisten=tcp:%[1]s\n%[2]s\n",
		k.SIPAddr(), o.Local)
	files["imc-local.cfg"] = fmt.Sprintf(
		"#!define IMC_EVAPI_BIND %q\n#!define IMC_SECRET %q\n#!define IMC_OPERATOR_SECRET %q\n%s\n",
		k.EvapiAddr(), o.Secret, o.OperatorSecret, o.IMCLocal)
	maps.Copy(files, o.Files)
	for name, text := range files {
		// The secrets are in it.
		if err := os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write Kamailio's %s: %w", name, err)
		}
	}
	return nil
}
