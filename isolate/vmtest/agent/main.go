// Command agent is what the tests' virtual machine runs before and beside
// berthd. See vmtest.Agent.
package main

import "berth/isolate/vmtest"

func main() { vmtest.Agent() }
