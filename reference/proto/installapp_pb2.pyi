from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class InstallAppRequest(_message.Message):
    __slots__ = ("app_context",)
    APP_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    app_context: str
    def __init__(self, app_context: _Optional[str] = ...) -> None: ...

class InstallAppResponse(_message.Message):
    __slots__ = ("app_context_installed", "app_context_install_message")
    APP_CONTEXT_INSTALLED_FIELD_NUMBER: _ClassVar[int]
    APP_CONTEXT_INSTALL_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    app_context_installed: bool
    app_context_install_message: str
    def __init__(self, app_context_installed: bool = ..., app_context_install_message: _Optional[str] = ...) -> None: ...

class UninstallAppRequest(_message.Message):
    __slots__ = ("app_context",)
    APP_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    app_context: str
    def __init__(self, app_context: _Optional[str] = ...) -> None: ...

class UninstallAppResponse(_message.Message):
    __slots__ = ("app_context_uninstalled", "app_context_uninstall_message")
    APP_CONTEXT_UNINSTALLED_FIELD_NUMBER: _ClassVar[int]
    APP_CONTEXT_UNINSTALL_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    app_context_uninstalled: bool
    app_context_uninstall_message: str
    def __init__(self, app_context_uninstalled: bool = ..., app_context_uninstall_message: _Optional[str] = ...) -> None: ...
