# Takes a zip archive of torch.save apart as torch.load(weights_only=True) does: the pickle may name only what is in ALLOWED.
import collections, pickle, struct, sys, zipfile

archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
root = archive.namelist()[0].split("/")[0]
assert archive.read(root + "/version") == b"3\n" and archive.read(root + "/byteorder") == b"little"

FORMAT = {"float": "f", "half": "e", "double": "d", "long": "q"}


def rebuild(storage, offset, shape, strides, requires_grad, hooks):
    assert offset == 0 and requires_grad is False and hooks == collections.OrderedDict()
    return storage[0], shape, strides, storage[1]


ALLOWED = {("collections", "OrderedDict"): collections.OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): rebuild}
ALLOWED.update({("torch", name.capitalize() + "Storage"): name for name in FORMAT})


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return ALLOWED[module, name]

    def persistent_load(self, id):
        kind, name, key, location, elements = id
        assert kind == "storage" and location == "cpu"
        data = archive.read(root + "/data/" + key)
        return name, struct.unpack("<%d%s" % (elements, FORMAT[name]), data)


with archive.open(root + "/data.pkl") as f:
    state = Unpickler(f).load()
assert type(state) is collections.OrderedDict
for name, (kind, shape, strides, values) in state.items():
    print(name, kind, shape, strides, values)
