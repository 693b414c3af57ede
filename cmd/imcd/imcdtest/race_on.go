//go:build race

package imcdtest

const raceDetector = true
