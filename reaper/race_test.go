//go:build race

package reaper

const raceDetector = true
