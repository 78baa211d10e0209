package units

import "testing"

func TestPathsBesideTheFile(t *testing.T) {
	decode := func(text string) (*Unit, Diagnostics) {
		return Decode("web", []Source{{Path: "web.toml", Text: []byte(text)}})
	}
	u, ds := decode(`
[service]
command = ["/x"]
environment-files = ["./a.env", "-./b.env"]
[rootfs]
path = "./root//fs/"
[security]
seccomp = "./profile.json"
[[mount]]
source = "./html"
target = "/srv"
`)
	if len(ds) > 0 {
		t.Fatal(ds.Error())
	}
	if u.RootFS.Path != "./root/fs" || u.Security.Seccomp != "./profile.json" || u.Mounts[0].Source != "./html" || u.Service.EnvironmentFiles[1] != "-./b.env" {
		t.Errorf("%q %q %q %q", u.RootFS.Path, u.Security.Seccomp, u.Mounts[0].Source, u.Service.EnvironmentFiles)
	}
	for _, bad := range []string{
		"rootfs.path = \"./../x\"", "rootfs.path = \"root\"", "rootfs.path = \"../x\"",
		"rootfs.host = true\nservice.working-directory = \"./x\"",
		"rootfs.host = true\nsecurity.masked-paths = [\"./x\"]",
		"rootfs.host = true\nmount = [{ source = \"/a\", target = \"./b\" }]",
		"rootfs.host = true\nmount = [{ source = \"./a/../b\", target = \"/b\" }]",
	} {
		if _, ds := decode("service.command = [\"/x\"]\n" + bad); len(ds) != 1 || ds[0].Code != "U020" {
			t.Errorf("%s\n%s", bad, ds.Error())
		}
	}
}
