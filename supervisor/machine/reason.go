package machine

import (
	"os"
	"path/filepath"
	"strings"
)

// reasonFile is in the runtime directory.
const reasonFile = "emergency"

// TellEmergency leaves a text for the emergency role that is started next: why,
// in lines without colours.
func TellEmergency(runtimeDir, why string) error {
	return os.WriteFile(filepath.Join(runtimeDir, reasonFile), []byte(why), 0o644)
}

// EmergencyReason gives the text that was left and removes it, for it would be
// told again at a worse time; "": there is none.
func EmergencyReason(runtimeDir string) string {
	path := filepath.Join(runtimeDir, reasonFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	_ = os.Remove(path) // if that fails it is told twice
	return strings.TrimSpace(string(text))
}
