package check

import "imcd/cmd/imcd/internal/config"

// Database returns db_url, rooms_table and members_table of imcd's configuration. Of o only File and Environ count.
func Database(o Options) (url, rooms, members string, err error) {
	cfg, err := config.Load(config.Sources{File: o.File, Environ: o.Environ})
	if err != nil {
		return "", "", "", err
	}
	return cfg.DB.URL, cfg.DB.RoomsTable, cfg.DB.MembersTable, nil
}
