"""The messages in the files of TensorFlow, for who reads them without TensorFlow.

TensorFlow's own classes come with all of TensorFlow, which takes seconds to import, and those of tensorboardX
bring PyTorch along where it is installed. What is read of these messages here has the numbers and types of
TensorFlow's definitions; a map is the list of its entries, which is the same to a reader. Fields that are not
listed are skipped.
"""

from __future__ import annotations

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["BundleEntry", "BundleHeader", "CheckpointState", "Event", "MetaGraphDef"]

_MESSAGES = """
CheckpointState: string model_checkpoint_path = 1; repeated string all_model_checkpoint_paths = 2;
    repeated double all_model_checkpoint_timestamps = 3; double last_preserved_timestamp = 4;

BundleHeader: int32 num_shards = 1; int32 endianness = 2;
BundleEntry: int32 dtype = 1; TensorShape shape = 2; int32 shard_id = 3; int64 offset = 4; int64 size = 5;
    fixed32 crc32c = 6; repeated TensorSlice slices = 7;
TensorSlice: repeated Extent extent = 1;
Extent: int64 start = 1; int64 length = 2;
TensorShape: repeated Dim dim = 2; bool unknown_rank = 3;
Dim: int64 size = 1; string name = 2;
Tensor: int32 dtype = 1; TensorShape tensor_shape = 2; bytes tensor_content = 4; repeated float float_val = 5;
    repeated double double_val = 6; repeated int32 int_val = 7; repeated bytes string_val = 8;
    repeated int64 int64_val = 10; repeated bool bool_val = 11; repeated int32 half_val = 13;
    repeated uint32 uint32_val = 16; repeated uint64 uint64_val = 17;

Event: double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
    SessionLog session_log = 7;
SessionLog: int32 status = 1; string checkpoint_path = 2; string msg = 3;
Summary: repeated Value value = 1;
Value: string tag = 1; optional float simple_value = 2; Tensor tensor = 8; Metadata metadata = 9;
Metadata: PluginData plugin_data = 1; string display_name = 2; string summary_description = 3;
PluginData: string plugin_name = 1; bytes content = 2;

MetaGraphDef: MetaInfo meta_info_def = 1; Graph graph_def = 2; SaverDef saver_def = 3;
    repeated CollectionEntry collection_def = 4;
MetaInfo: string meta_graph_version = 1; OpList stripped_op_list = 2; repeated string tags = 4;
    string tensorflow_version = 5; string tensorflow_git_version = 6;
OpList: repeated Op op = 1;
Op: string name = 1; repeated Arg input_arg = 2; repeated Arg output_arg = 3; repeated OpAttr attr = 4;
    string summary = 5; string description = 6; repeated string control_output = 20;
Arg: string name = 1; string description = 2; int32 type = 3; string type_attr = 4; string number_attr = 5;
    string type_list_attr = 6;
OpAttr: string name = 1; string type = 2; Attr default_value = 3; string description = 4; int64 minimum = 6;
    Attr allowed_values = 7;
Graph: repeated Node node = 1; Library library = 2; int32 version = 3;
Node: string name = 1; string op = 2; repeated string input = 3; string device = 4;
    repeated AttrEntry attr = 5;
AttrEntry: string key = 1; Attr value = 2;
Attr: AttrList list = 1; bytes s = 2; int64 i = 3; float f = 4; int32 type = 6; TensorShape shape = 7;
    Tensor tensor = 8; string placeholder = 9; Func func = 10;
AttrList: repeated bytes s = 2; repeated int64 i = 3; repeated float f = 4; repeated bool b = 5;
    repeated int32 type = 6; repeated TensorShape shape = 7; repeated Tensor tensor = 8;
    repeated Func func = 9;
Func: string name = 1; repeated AttrEntry attr = 2;
Library: repeated Function function = 1;
Function: Op signature = 1; repeated Node node_def = 3; repeated TextEntry ret = 4;
    repeated AttrEntry attr = 5; repeated TextEntry control_ret = 6;
TextEntry: string key = 1; string value = 2;
SaverDef: string filename_tensor_name = 1; string save_tensor_name = 2; string restore_op_name = 3;
CollectionEntry: string key = 1; Collection value = 2;
Collection: Names node_list = 1; Contents bytes_list = 2;
Names: repeated string value = 1;
Contents: repeated bytes value = 1;
"""

_FIELD = re.compile(r"(?:(repeated|optional) )?(\w+) (\w+) = (\d+);")


def _defined() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="hookrun.proto", package="hookrun", syntax="proto3")
    for name, fields in re.findall(r"^(\w+):(.*?)(?=^\w|\Z)", _MESSAGES, re.DOTALL | re.MULTILINE):
        message = file.message_type.add(name=name)
        for label, kind, field_name, number in _FIELD.findall(fields):
            field = message.field.add(name=field_name, number=int(number))
            field.label = field.LABEL_REPEATED if label == "repeated" else field.LABEL_OPTIONAL
            if kind[0].isupper():
                field.type, field.type_name = field.TYPE_MESSAGE, f".hookrun.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
            if label == "optional":
                field.proto3_optional = True
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field_name}")
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_defined())
BundleEntry, BundleHeader, CheckpointState, Event, MetaGraphDef = (
    message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"hookrun.{name}")) for name in __all__
)
