//! From a program to what AMD's compiler says of it.
//!
//! RADV, Mesa's Vulkan driver for AMD, compiles on a null device where `RADV_FORCE_FAMILY` names a family of processors:
//! nothing can run there, but pipelines are built by the very compiler, and
//! `VK_KHR_pipeline_executable_properties` tells its statistics and the assembly.
#![allow(unsafe_code, reason = "Vulkan is an unsafe interface; no other file here needs it")]

use std::ffi::{CStr, CString};

use ash::vk;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgpu_batchnorm::plan::Program;
use wgpu_batchnorm::shader;

/// The program as wgpu's Vulkan backend hands it to a driver with `robustBufferAccess2`, which RADV has.
///
/// wgpu-hal 30: indices clamped, buffers left to the driver's checks, loops bounded, workgroup memory as the pipeline asks.
pub fn spirv(program: &Program) -> Result<Vec<u32>, String> {
    let name = program.kernel.name();
    let refused = |what: &str, error: &dyn std::fmt::Display| format!("{name}: {what}: {error}");
    let module = naga::front::wgsl::parse_str(&shader::text(program)).map_err(|e| refused("WGSL", &e))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|e| refused("validation", &e.into_inner()))?;
    let constants = shader::overrides(program).into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let entry = Some((naga::ShaderStage::Compute, name));
    let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
        .map_err(|e| refused("overrides", &e))?;
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: name.to_owned() };
    spv::write_vec(&module, &info, &options, Some(&pipeline)).map_err(|e| refused("SPIR-V", &e))
}

/// What the compiler says of one pipeline.
pub struct Compiled {
    /// The driver's statistics by name.
    pub statistics: Vec<(String, u64)>,
    /// Invocations that run in lockstep.
    pub wave: u32,
    pub assembly: String,
}

/// The null device.
pub struct Compiler {
    /// The loader must outlive what it loaded.
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    executables: ash::khr::pipeline_executable_properties::Device,
    /// The device's name and the driver's version.
    pub title: String,
}

impl Compiler {
    /// Opens the first device of the driver that the environment names.
    pub fn open() -> Result<Self, String> {
        let refused = |what: &str, error: &dyn std::fmt::Debug| format!("{what}: {error:?}");
        // SAFETY: the loader is the system's own, and everything made here is used only while it lives.
        unsafe {
            let entry = ash::Entry::load().map_err(|e| refused("no Vulkan loader", &e))?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance = entry
                .create_instance(&vk::InstanceCreateInfo::default().application_info(&application), None)
                .map_err(|e| refused("no Vulkan instance", &e))?;
            let found = instance.enumerate_physical_devices().map_err(|e| refused("no Vulkan device", &e))?;
            let physical = *found.first().ok_or("this Mesa knows no device of that family")?;

            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let text = |name: &[std::ffi::c_char]| {
                let bytes: Vec<u8> = name.iter().map(|&c| c as u8).collect();
                CStr::from_bytes_until_nul(&bytes).map(|c| c.to_string_lossy().into_owned()).unwrap_or_default()
            };
            let device_name = text(&properties.properties.device_name);
            let title = format!("{device_name}, {}", text(&driver.driver_info));

            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default()
                .robust_buffer_access2(true)
                .robust_image_access2(true);
            let mut reporting =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut memory_model = vk::PhysicalDeviceVulkan12Features::default().vulkan_memory_model(true);
            let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true);
            let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
            let extensions =
                [ash::ext::robustness2::NAME.as_ptr(), ash::khr::pipeline_executable_properties::NAME.as_ptr()];
            let create = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&core)
                .push_next(&mut robustness)
                .push_next(&mut reporting)
                .push_next(&mut memory_model);
            let device =
                instance.create_device(physical, &create, None).map_err(|e| refused("no logical device", &e))?;
            let executables = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
            Ok(Self { _entry: entry, instance, device, executables, title })
        }
    }

    /// Compiles a program's SPIR-V with the bindings that the program has.
    pub fn compile(&self, program: &Program, words: &[u32]) -> Result<Compiled, String> {
        // SAFETY: the module is naga's valid output, the layout is the program's, and each object lives until it is
        // destroyed at the end.
        unsafe { self.compile_with(program, words) }.map_err(|error| format!("{}: {error}", program.kernel.name()))
    }

    unsafe fn compile_with(&self, program: &Program, words: &[u32]) -> Result<Compiled, vk::Result> {
        let storage = std::iter::repeat_n(vk::DescriptorType::STORAGE_BUFFER, program.arguments().len());
        let bindings: Vec<_> = std::iter::once(vk::DescriptorType::UNIFORM_BUFFER)
            .chain(storage)
            .enumerate()
            .map(|(index, kind)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(index as u32)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let name = CString::new(program.kernel.name()).unwrap_or_default();
        let device = &self.device;
        unsafe {
            let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let set = device.create_descriptor_set_layout(&create, None)?;
            let layout =
                device.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&[set]), None)?;
            let module = device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(words), None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&name);
            let flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let create = vk::ComputePipelineCreateInfo::default().flags(flags).stage(stage).layout(layout);
            let pipeline = device
                .create_compute_pipelines(vk::PipelineCache::null(), &[create], None)
                .map_err(|(_, error)| error)?[0];
            let compiled = self.read(pipeline);
            device.destroy_pipeline(pipeline, None);
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set, None);
            compiled
        }
    }

    unsafe fn read(&self, pipeline: vk::Pipeline) -> Result<Compiled, vk::Result> {
        unsafe {
            let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
            let wave = self.executables.get_pipeline_executable_properties(&info)?[0].subgroup_size;
            let which = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
            let statistics = self
                .executables
                .get_pipeline_executable_statistics(&which)?
                .iter()
                // A hash is the only one that is not a count.
                .filter(|s| s.format == vk::PipelineExecutableStatisticFormatKHR::UINT64)
                .map(|s| (s.name_as_c_str().unwrap_or_default().to_string_lossy().into_owned(), s.value.u64))
                .collect();

            // Asked once for the lengths and once for the texts; ash's own function asks for the lengths alone.
            let mut texts = self.executables.get_pipeline_executable_internal_representations(&which)?;
            let mut buffers: Vec<Vec<u8>> = texts.iter().map(|t| vec![0; t.data_size]).collect();
            for (text, buffer) in texts.iter_mut().zip(&mut buffers) {
                text.p_data = buffer.as_mut_ptr().cast();
            }
            let mut count = texts.len() as u32;
            (self.executables.fp().get_pipeline_executable_internal_representations_khr)(
                self.device.handle(),
                &which,
                &mut count,
                texts.as_mut_ptr(),
            )
            .result()?;
            let assembly = texts
                .iter()
                .zip(&buffers)
                .find(|(text, _)| text.name_as_c_str() == Ok(c"Assembly"))
                .map(|(_, buffer)| String::from_utf8_lossy(buffer).trim_end_matches('\0').to_owned())
                .unwrap_or_default();
            Ok(Compiled { statistics, wave, assembly })
        }
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // SAFETY: nothing of the device or the instance is alive any more.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}
