"""Writes the golden files beside this script with the formats' reference implementations.

Run with numpy 2.4, pyarrow 26 and safetensors 0.8; the tests read the files and need no Python.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

# .npy: 3 rows of 2, in several layouts.
rows = np.array([[1.5, -2.0], [0.25, 3.0], [1e-3, 4.0]])
np.save("f4.npy", rows.astype("<f4"))
np.save("f8_fortran.npy", np.asfortranarray(rows))
np.save("f4_big_endian.npy", rows.astype(">f4"))
np.save("f2.npy", rows.astype("<f2"))
np.save("u1_images.npy", np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
with open("version2.npy", "wb") as f:
    np.lib.format.write_array(f, rows.astype("<f4"), version=(2, 0))
np.save("labels_i8.npy", np.array([7, -1, 7]))
np.save("labels_bool.npy", np.array([[True, False], [False, False], [True, True]]))
np.save("labels_unicode.npy", np.array(["rot", "grün", "rot"]))
np.save("labels_bytes.npy", np.array([b"red", b"green", b"red"]))
np.save("object.npy", np.array([[1, None]], dtype=object))
np.save("records.npy", np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]))
np.save("complex.npy", np.array([[1j]]))
np.save("scalar.npy", np.float32(1))

# Parquet: five rows in groups of two.
table = pa.table({
    "x": pa.array([1.5, -2.0, 0.25, 3.0, 1e-3], pa.float64()),
    "f": pa.array([0.5, 1.5, 2.5, 3.5, 4.5], pa.float32()),
    "h": pa.array(np.array([1.5, -2.0, 0.25, 3.0, 4.0], np.float16)),
    "n": pa.array([1, -2, 3, -4, 5], pa.int64()),
    "u": pa.array([0, 1, 2, 254, 255], pa.uint8()),
    "w": pa.array([0, 1, 2, 3, 2**32 - 1], pa.uint32()),
    "flag": pa.array([True, False, True, True, False]),
    "label": pa.array(["yes", "no", "yes", "no", "maybe"]),
})
for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
    pq.write_table(table, f"{codec}.parquet", compression=codec, row_group_size=2)
pq.write_table(table, "pages_v2.parquet", data_page_version="2.0", use_dictionary=False, row_group_size=2)
pq.write_table(table, "brotli.parquet", compression="brotli")
odd = pa.table({
    "x": pa.array([1.0, None, 3.0]),
    "when": pa.array([1, 2, 3], pa.timestamp("us")),
    "price": pa.array([1, 2, 3], pa.decimal128(9, 2)),
    "list": pa.array([[1.0], [2.0], [3.0]]),
    "city": pa.array(["a", "b", "c"]),
    "inf": pa.array([1.0, float("inf"), 3.0]),
    "big": pa.array([1.0, 1e300, 3.0]),
    "none": pa.array(["a", None, "c"]),
    "fine": pa.array([1.0, 2.0, 3.0]),
})
pq.write_table(odd, "odd.parquet")
pq.write_table(table.slice(0, 0), "no_rows.parquet")

# safetensors: an nn.Sequential(Linear(2, 3), ReLU(), Linear(3, 1)) by its state_dict.
layers = {
    "0.weight": np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    "0.bias": np.array([-1, -2, -3], np.float32),
    "2.weight": np.array([[0.5, 0.25, 0.125]], np.float32),
    "2.bias": np.array([7], np.float32),
}
save_file(layers, "mlp.safetensors", metadata={"format": "pt"})
save_file({k: v.astype(np.float16) for k, v in layers.items()}, "mlp_f16.safetensors")
save_file({k: v.astype(np.float64) for k, v in layers.items()}, "mlp_f64.safetensors")
