package tail

import (
	"testing"

	"berth/isolate/tinyelf/tinyelftest"
)

func TestInstructions(t *testing.T) {
	tinyelftest.CheckX86_64(t, instructionsX86_64)
	tinyelftest.CheckAArch64(t, instructionsAArch64)
}
