package main

import "os"

// raceDetector: BERTH_RACE=1 has the daemon built with the race detector (which
// needs a C compiler); each race that its log tells of fails the test.
var raceDetector = os.Getenv("BERTH_RACE") != ""
