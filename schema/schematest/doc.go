// Package schematest runs real PostgreSQL servers (and for imcctl copy MariaDB) for tests, demonstrations and
// benchmarks: one of its own per server, in a folder of its own, on a free port
// of 127.0.0.1. Nothing of a server that runs on the machine anyway is touched.
//
// A package's tests share one server, and every test has a database of its own:
//
//	func TestMain(m *testing.M) { schematest.Main(m) }
//
//	func TestX(t *testing.T) {
//		url := schematest.NewDatabase(t)
//		…
//	}
package schematest
