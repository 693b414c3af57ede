// Package debpackage holds no Go code, but what packages of imcd are made of: the
// scripts, the service's unit, the default configuration and the manual pages,
// and tests of them. TestPackage, which needs root and the folder with Debian 12
// that e2e.sh makes, has the build tag deb.
package debpackage
